"""Layouts of datasets: folders and tables of images to records."""
