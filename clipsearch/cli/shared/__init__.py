"""What several commands share: options, clients, output, problems, processes, and runs of `index`."""
