"""`python -m infra.cli` is `oaas`."""

from infra.cli.main import main

main()
