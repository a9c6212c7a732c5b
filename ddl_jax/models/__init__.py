"""Flax Linen backbones: images in, face embeddings out."""

from ddl_jax.models.card import PREPROCESSING as PREPROCESSING
from ddl_jax.models.card import ModelCard as ModelCard
from ddl_jax.models.parts import backbone_parts as backbone_parts
from ddl_jax.models.parts import is_batch_norm as is_batch_norm
from ddl_jax.models.registry import BACKBONES as BACKBONES
from ddl_jax.models.registry import create_backbone as create_backbone
