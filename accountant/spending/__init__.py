"""What budgets and ledgers are made of: costs, filters, records, the file format."""
