"""From nested tables to a Pipeline: the one parser, of files and of flags alike."""
