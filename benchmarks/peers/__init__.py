"""Other libraries that sync a vector store with documents, each tuned as well as we can."""
