"""What programs leave beside documents and what is never a document. Ignored by default."""

DEFAULT_IGNORES = (
    # locks of open documents: Office, LibreOffice
    *("~$*", ".~lock.*#"),
    # Windows and macOS
    *("desktop.ini", "Desktop.ini", "DESKTOP.INI", "Thumbs.db", "thumbs.db", "THUMBS.DB"),
    *("ehthumbs.db", "ehthumbs_vista.db", ".DS_Store", "Icon[\r]"),
    *("__MACOSX/", "$RECYCLE.BIN/", "System Volume Information/"),
    # storage
    *("lost+found/", "@eaDir/", "\\#recycle/", "\\#snapshot/"),
    # editors, and downloads that are not complete
    *("*~", "\\#*#", "*.bak", "*.swp", "*.swo", "*.tmp", "*.part", "*.crdownload"),
    # programming
    *("__pycache__/", "node_modules/", "bower_components/", "*.egg-info/", "*.dist-info/"),
)
"""Patterns in gitignore syntax."""

VIRTUAL_ENVIRONMENT = "pyvenv.cfg"
"""A folder with this file is a virtual environment of Python; it is ignored too."""
