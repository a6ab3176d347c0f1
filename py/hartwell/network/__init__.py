"""Networks without a platform: which frames may pass, and who hands out addresses.

policy.py decides about a guest's frames, dhcp.py answers on segments that have
no server, packets.py reads and makes what both need.
"""
