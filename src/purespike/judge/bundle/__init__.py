"""Does everything that lies in a bundle say the same thing?"""
