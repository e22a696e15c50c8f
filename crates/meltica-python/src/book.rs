//! Books and price levels as Python sees them.

use crate::convert::py_decimal;
use crate::events::{Body, PyEvent};
use crate::locks::Lock;
use crate::payload::{price, quantity};
use meltica_core::decimal::Decimal;
use meltica_core::event::{Book, PriceLevel};
use meltica_core::pool::Shared;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyTuple};

enum Place {
    /// In the pool: counted against the instance's reservation.
    Slot(Shared<Book>),
    /// Moved out of the pool because a lambda kept the object.
    Heap(Box<Book>),
}

/// The levels behind a book object.
pub struct BookBody {
    place: Lock<Place>,
    depth: u32,
}

impl BookBody {
    /// A view of the top `depth` levels of a slot.
    pub fn slot(book: Shared<Book>, depth: u32) -> Self {
        Self { place: Lock::leaf(Place::Slot(book)), depth }
    }

    /// A book outside the pool.
    pub fn heap(book: Book) -> Self {
        let depth = book.bids.len().max(book.asks.len()) as u32;
        Self::kept(book, depth)
    }

    /// A book outside the pool, of a route with `depth` levels.
    pub fn kept(book: Book, depth: u32) -> Self {
        Self { place: Lock::leaf(Place::Heap(Box::new(book))), depth }
    }

    pub fn depth(&self) -> usize {
        self.depth as usize
    }

    pub fn with<R>(&self, f: impl FnOnce(&Book) -> R) -> R {
        match &*self.place.lock() {
            Place::Slot(book) => f(book),
            Place::Heap(book) => f(book),
        }
    }

    /// Copies the levels to the heap and returns the slot.
    pub fn keep(&self) {
        let mut place = self.place.lock();
        if let Place::Slot(book) = &*place {
            let cut = |levels: &[PriceLevel]| levels[..levels.len().min(self.depth as usize)].to_vec();
            let kept = Book { bids: cut(&book.bids), asks: cut(&book.asks), ..**book };
            *place = Place::Heap(Box::new(kept));
        }
    }

    pub fn same(&self, other: &Self) -> bool {
        // Copies the levels, so that only one lock is held at a time.
        let levels = |body: &Self| {
            body.with(|book| {
                let top = |side: &[PriceLevel]| -> Vec<(Decimal, Decimal)> {
                    side.iter().take(body.depth()).map(|l| (price(book, *l), quantity(book, *l))).collect()
                };
                let counts = (book.bid_count, book.ask_count);
                (
                    top(&book.bids),
                    top(&book.asks),
                    counts,
                    book.first_update_id,
                    book.last_update_id,
                    horizon(book),
                    book.checksum,
                )
            })
        };
        levels(self) == levels(other)
    }

    pub fn describe(&self) -> String {
        self.with(|book| {
            let best = |levels: &[PriceLevel]| {
                levels
                    .first()
                    .map_or_else(|| "-".into(), |l| format!("{}x{}", price(book, *l), quantity(book, *l)))
            };
            format!(
                " bid={} ask={} levels={}/{}",
                best(&book.bids),
                best(&book.asks),
                book.bid_count,
                book.ask_count
            )
        })
    }
}

/// One price level of a book, immutable. Unpacks to two floats: `price, quantity = level`.
///
/// Raises `ValueError` for a price or quantity that is not a decimal number.
#[pyclass(module = "meltica", name = "PriceLevel", frozen, immutable_type)]
pub struct PyPriceLevel {
    price: Decimal,
    quantity: Decimal,
}

#[pymethods]
impl PyPriceLevel {
    #[new]
    fn new(price: &Bound<'_, PyAny>, quantity: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self { price: crate::convert::decimal(price)?, quantity: crate::convert::decimal(quantity)? })
    }

    /// float: Price in quote currency.
    #[getter]
    fn price(&self) -> f64 {
        self.price.to_f64()
    }

    /// Decimal: The exact `price`.
    #[getter]
    fn price_decimal<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py_decimal(py, self.price)
    }

    /// float: Quantity at this price, in base currency.
    #[getter]
    fn quantity(&self) -> f64 {
        self.quantity.to_f64()
    }

    /// Decimal: The exact `quantity`.
    #[getter]
    fn quantity_decimal<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py_decimal(py, self.quantity)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        (self.price.to_f64(), self.quantity.to_f64()).into_pyobject(py)?.into_any().try_iter()
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| {
            let other = other.get();
            self.price == other.price && self.quantity == other.quantity
        })
    }

    fn __hash__(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (self.price, self.quantity).hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> (Bound<'py, PyAny>, (String, String)) {
        (py.get_type::<Self>().into_any(), (self.price.to_string(), self.quantity.to_string()))
    }

    fn __repr__(&self) -> String {
        format!("PriceLevel({}, {})", self.price, self.quantity)
    }
}

/// The top of an order book: the best `book_depth` levels of each side.
///
/// Immutable. In a test: `meltica.testing.event("BookSnapshot", "BTC-USDT", bids=[{"price": "99", "quantity": "1"}],
/// asks=[])`.
///
/// Example:
///
///     def on_book_snapshot(self, book: meltica.BookSnapshot) -> None:
///         for price, quantity in book.bids:
///             self.log.info("%s bid at %s", quantity, price)
#[pyclass(module = "meltica", name = "BookSnapshot", extends = PyEvent, frozen, immutable_type)]
pub struct PyBookSnapshot;

fn body<'a>(slf: &'a Bound<'_, PyBookSnapshot>) -> &'a BookBody {
    match slf.as_super().get().body() {
        Body::Book(book) => book,
        Body::Plain(_) => unreachable!("Invariant: a BookSnapshot holds a book"),
    }
}

/// Returns the prices up to which every level is known.
fn horizon(book: &Book) -> [Option<Decimal>; 2] {
    let of = |price| crate::payload::price(book, PriceLevel { price, quantity: 0 });
    [book.bid_horizon, book.ask_horizon].map(|price| price.map(of))
}

fn level(book: &Book, level: PriceLevel) -> PyPriceLevel {
    PyPriceLevel { price: price(book, level), quantity: quantity(book, level) }
}

fn side<'py>(
    slf: &Bound<'py, PyBookSnapshot>,
    pick: fn(&Book) -> &[PriceLevel],
) -> PyResult<Bound<'py, PyTuple>> {
    let body = body(slf);
    let levels: Vec<PyPriceLevel> =
        body.with(|book| pick(book).iter().take(body.depth()).map(|l| level(book, *l)).collect());
    PyTuple::new(slf.py(), levels)
}

#[pymethods]
impl PyBookSnapshot {
    /// tuple[meltica.PriceLevel, ...]: Bid levels, highest price first.
    #[getter]
    fn bids<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        side(slf, |book| &book.bids)
    }

    /// tuple[meltica.PriceLevel, ...]: Ask levels, lowest price first.
    #[getter]
    fn asks<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        side(slf, |book| &book.asks)
    }

    /// meltica.PriceLevel | None: The highest bid; None if the side is empty.
    #[getter]
    fn best_bid(slf: &Bound<'_, Self>) -> Option<PyPriceLevel> {
        body(slf).with(|book| book.bids.first().map(|l| level(book, *l)))
    }

    /// meltica.PriceLevel | None: The lowest ask; None if the side is empty.
    #[getter]
    fn best_ask(slf: &Bound<'_, Self>) -> Option<PyPriceLevel> {
        body(slf).with(|book| book.asks.first().map(|l| level(book, *l)))
    }

    /// int: Number of bid levels in the whole book, before it is cut to `book_depth`.
    #[getter]
    fn bid_count(slf: &Bound<'_, Self>) -> u32 {
        body(slf).with(|book| book.bid_count)
    }

    /// int: Number of ask levels in the whole book, before it is cut to `book_depth`.
    #[getter]
    fn ask_count(slf: &Bound<'_, Self>) -> u32 {
        body(slf).with(|book| book.ask_count)
    }

    /// float | None: The price down to which every bid is known; None if that is not known.
    ///
    /// Of worse levels, the book has those that changed since the snapshot of the venue. Others may exist.
    #[getter]
    fn bid_horizon(slf: &Bound<'_, Self>) -> Option<f64> {
        body(slf).with(|book| horizon(book)[0].map(Decimal::to_f64))
    }

    /// Decimal | None: The exact `bid_horizon`.
    #[getter]
    fn bid_horizon_decimal<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        body(slf).with(|book| horizon(book)[0].map(|price| py_decimal(slf.py(), price)).transpose())
    }

    /// float | None: The price up to which every ask is known, as `bid_horizon`.
    #[getter]
    fn ask_horizon(slf: &Bound<'_, Self>) -> Option<f64> {
        body(slf).with(|book| horizon(book)[1].map(Decimal::to_f64))
    }

    /// Decimal | None: The exact `ask_horizon`.
    #[getter]
    fn ask_horizon_decimal<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        body(slf).with(|book| horizon(book)[1].map(|price| py_decimal(slf.py(), price)).transpose())
    }

    /// int | None: The venue's id of the first update in the message behind this book; None if it has no ids.
    #[getter]
    fn first_update_id(slf: &Bound<'_, Self>) -> Option<u64> {
        body(slf).with(|book| (book.first_update_id != 0).then_some(book.first_update_id))
    }

    /// int | None: The venue's id of the last update in this book; None if it has no ids.
    #[getter]
    fn last_update_id(slf: &Bound<'_, Self>) -> Option<u64> {
        body(slf).with(|book| (book.last_update_id != 0).then_some(book.last_update_id))
    }

    /// int | None: The venue's checksum of the book; None if it does not send one.
    #[getter]
    fn checksum(slf: &Bound<'_, Self>) -> Option<u32> {
        body(slf).with(|book| book.checksum)
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyPriceLevel>()?;
    module.add_class::<PyBookSnapshot>()
}
