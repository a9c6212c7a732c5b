"""The commands of `python eval.py COMMAND`: a module each, named like the command.

It has `main(argv)` for its command line, program name first, and a docstring whose first line says
what it does; what several share is in modules with an underscore. What is slow to import, a module
imports inside a function, after the cheap checks.
"""
