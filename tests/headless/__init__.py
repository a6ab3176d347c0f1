"""The `hartwell` command: machines in Node, on the page's own glue, with no page."""
