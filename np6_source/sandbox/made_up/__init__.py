"""Made-up accounts: mailings, sends, reactions."""
