"""Entity-relationship diagrams of a solution's tables, as SVG and as Mermaid."""
