"""What is made from report.json: text, Markdown, SARIF, JUnit, and the difference of two builds."""
