"""What an experiment is: typed settings, read from a file and the command line, checked once.

A file in `configs/` returns a `Config`; `--config.KEY=VALUE` overrides a field; `validate` refuses
what cannot work before any data is opened. After that nothing changes a config.
"""

from ddl_jax.config.command import CommandLine as CommandLine
from ddl_jax.config.command import as_flags as as_flags
from ddl_jax.config.command import parse as parse
from ddl_jax.config.protocols import ProtocolEntry as ProtocolEntry
from ddl_jax.config.protocols import protocol_entries as protocol_entries
from ddl_jax.config.settings import AdaFace as AdaFace
from ddl_jax.config.settings import ArcFace as ArcFace
from ddl_jax.config.settings import Batch as Batch
from ddl_jax.config.settings import Checkpoint as Checkpoint
from ddl_jax.config.settings import Combined as Combined
from ddl_jax.config.settings import Config as Config
from ddl_jax.config.settings import CosFace as CosFace
from ddl_jax.config.settings import CurricularFace as CurricularFace
from ddl_jax.config.settings import Data as Data
from ddl_jax.config.settings import Distillation as Distillation
from ddl_jax.config.settings import ElasticFace as ElasticFace
from ddl_jax.config.settings import Evaluation as Evaluation
from ddl_jax.config.settings import InitFrom as InitFrom
from ddl_jax.config.settings import Loss as Loss
from ddl_jax.config.settings import MagFace as MagFace
from ddl_jax.config.settings import Model as Model
from ddl_jax.config.settings import NormFace as NormFace
from ddl_jax.config.settings import Optimizer as Optimizer
from ddl_jax.config.settings import SphereFace as SphereFace
from ddl_jax.config.settings import Synthetic as Synthetic
from ddl_jax.config.settings import evaluation_data as evaluation_data
from ddl_jax.config.settings import images_of_a_row as images_of_a_row
from ddl_jax.config.stored import changed_keys as changed_keys
from ddl_jax.config.stored import from_json as from_json
from ddl_jax.config.stored import to_json as to_json
from ddl_jax.config.validation import NO_DECAY as NO_DECAY
from ddl_jax.config.validation import check_name as check_name
from ddl_jax.config.validation import part_rates as part_rates
from ddl_jax.config.validation import validate as validate
from ddl_jax.config.variants import variant as variant
