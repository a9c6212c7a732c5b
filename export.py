"""Writes a trained face recognizer for other programs. See docs/export.md.

python export.py --workdir=runs/ddl --out=ddl.stablehlo
"""

import sys

from ddl_jax import command_line

if __name__ == "__main__":
    sys.exit(command_line.run(command_line.export, sys.argv))
