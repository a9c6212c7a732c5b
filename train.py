"""Trains a face recognizer. See README.md.

python train.py --config=configs/synthetic_pretrain.py --workdir=runs/pretrain
"""

import sys

from ddl_jax import command_line

if __name__ == "__main__":
    sys.exit(command_line.run(command_line.train, sys.argv))
