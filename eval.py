"""Evaluates a trained face recognizer. See README.md.

python eval.py --workdir=runs/ddl --before=runs/pretrain
"""

import sys

from ddl_jax import command_line

if __name__ == "__main__":
    sys.exit(command_line.run(command_line.evaluate, sys.argv))
