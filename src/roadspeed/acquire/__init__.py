"""Tarballs on S3 (or in a folder) to chips, labels and one chip table a city and split."""
