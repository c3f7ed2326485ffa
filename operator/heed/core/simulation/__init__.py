"""Event sequences played through the decision, with stubbed tasks and expectations."""
