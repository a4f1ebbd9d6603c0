"""Planning the queue ahead: which waiting job starts now, is reserved a start, keeps waiting, or bursts to the cloud."""
