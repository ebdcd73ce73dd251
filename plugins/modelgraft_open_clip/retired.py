"""Model and tag pairs that open_clip once listed and lists under another name now.

Found by running every version of src/open_clip/pretrained.py in https://github.com/mlfoundations/open_clip up to commit
cb79ec20 (2026-05-21); the same weights, or the same checkpoint by name, are under the new pair. Pairs that went without a
successor (``laion400m_avg``, ``ViT-L-14-worldwide``) are not here: no name should give other weights than it used to.
"""

from __future__ import annotations

from typing import Final

RETIRED: Final = {
    ("mobileclip_s1", "datacompdr"): ("MobileCLIP-S1", "datacompdr"),  # 1d7b953f, 2024-06-07
    ("mobileclip_s2", "datacompdr"): ("MobileCLIP-S2", "datacompdr"),  # 1d7b953f, 2024-06-07
    ("ViT-H-14", "metaclip_alltogether"): ("ViT-H-14", "metaclip_altogether"),  # 992eb6c3, 2024-12-23
    ("PE-Core-G-14-448", "meta"): ("PE-Core-bigG-14-448", "meta"),  # 487621ac, renamed in 61d46387, 2025-07-21
}
"""Old pair -> the pair that has its weights now."""
