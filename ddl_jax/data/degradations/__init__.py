"""Good pictures made hard: what a camera, the light, or a thing before the face takes away."""
