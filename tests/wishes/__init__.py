"""Programs that show in the guest what `docs/wishes.md` claims, and their build."""
