"""Training: update rules, schedules, augmentation, and the recipes that use them."""
