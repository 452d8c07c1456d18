"""The wrapper of a list of images, which are tensors already."""


class DatasetWrapper:
    def __init__(self, cfg, data_source, transform=None, is_train=False):
        self.data_source = data_source

    def __len__(self):
        return len(self.data_source)

    def __getitem__(self, idx):
        return self.data_source[idx]
