"""Which student next: the space that is searched, and what runs of it begin with."""
