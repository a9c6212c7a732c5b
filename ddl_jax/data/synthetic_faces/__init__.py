"""The embedded default data set: parametric faces, an easy domain and four hard ones."""

from ddl_jax.data.synthetic_faces.builder import SyntheticFaces, SyntheticFacesConfig, prepare
from ddl_jax.data.synthetic_faces.domains import DOMAINS, EASY, HARD

__all__ = ["DOMAINS", "EASY", "HARD", "SyntheticFaces", "SyntheticFacesConfig", "prepare"]
