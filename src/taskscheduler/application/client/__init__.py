"""What embedders, HTTP and the command line call: storing, reading, changing."""
