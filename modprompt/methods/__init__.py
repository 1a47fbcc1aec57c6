"""The methods: a short file each."""
