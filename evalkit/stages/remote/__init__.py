"""Images from services: `send` decides what is sent and when; the other files each hold one of the rules that it follows."""
