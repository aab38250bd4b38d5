"""The command line: edits by hand, prices, a look at the installation, the sandbox alone.

main      the commands, and `run`, which `kontext-edit` calls with its arguments
options   the tiers' options, made from the spec
edits     from what was typed to a task that is settled
output    what a person sees: paths on stdout, everything else on stderr
"""

from kontext_edit.cli.main import run as run
