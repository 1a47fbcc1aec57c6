"""The methods: a file each; heads and the search for a schedule in folders of their own."""
