"""One LightningModule per task: its loss, its metrics and its prediction rows."""
