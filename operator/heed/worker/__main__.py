"""`python -m heed.worker`: the process that `heed worker` and `heed dev` start."""

from heed.worker.main import main

if __name__ == "__main__":
    main()
