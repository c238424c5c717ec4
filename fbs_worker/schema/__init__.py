"""Tables: those of FBS itself now, those of the business domains beside them."""
