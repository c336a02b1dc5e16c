"""Packaged typefaces for PDF: Inter 4.1 (SIL Open Font License 1.1), cut to Latin, Greek and Cyrillic, two weights."""
