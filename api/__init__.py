"""The HTTP front end: `python -m api`. Never imports torch, cv2 or Pillow."""
