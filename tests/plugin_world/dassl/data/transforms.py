def build_transform(cfg, is_train=True, choices=None):
    return None
