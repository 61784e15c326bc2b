"""The HTML page of `router-training router report`: one file of text, tables and pictures. A section is a file here."""
