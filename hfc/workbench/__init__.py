"""What a compilation made, to be read: sources, assembly, IR and reasons of kernels; a page, a dump, a comparison of bundles."""
