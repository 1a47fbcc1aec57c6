"""MPL tried in a codebase: its own train.py trains and tests on made-up data, in processes of their own."""
