"""What is for people in a browser: the page, and the description of the API as one."""
