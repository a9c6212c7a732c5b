"""Flax Linen backbones: images in, face embeddings out."""

from ddl_jax.models.card import ModelCard as ModelCard
from ddl_jax.models.registry import BACKBONES as BACKBONES
from ddl_jax.models.registry import create_backbone as create_backbone
