"""One module per page: what it shows, given what data.py reads. A page never touches the database itself."""
