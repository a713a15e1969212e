"""Usage on disk between a call and the database: what a killed process leaves behind is found and recorded."""
