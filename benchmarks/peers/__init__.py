"""Other libraries that keep a vector store true to documents, each as well tuned as we know how."""
