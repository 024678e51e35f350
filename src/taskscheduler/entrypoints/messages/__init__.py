"""The shapes that go over the wire; HTTP, the command line and exports share them."""
