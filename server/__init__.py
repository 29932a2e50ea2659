"""Server: an engine behind an HTTP interface of the OpenAI form, with runs that can be watched and steered."""
