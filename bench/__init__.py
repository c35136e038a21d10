"""The figures that the README quotes: ``make bench``, as root. OpenSSH and qsh side by side in the same run."""
