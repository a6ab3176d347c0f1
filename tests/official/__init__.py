"""Other projects' suites, which are fetched beside the checkout and never kept in it."""
