"""The paper's figures as checks of the rule: numbers, pictures, and what each shows."""
