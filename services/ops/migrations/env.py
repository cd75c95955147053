from infra.migrate import run_environment

run_environment("ops")
